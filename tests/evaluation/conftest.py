"""The tiny model of the training tests."""

from tests.train.conftest import model_folder, model_folder_64, one_thread

__all__ = ["model_folder", "model_folder_64", "one_thread"]
