"""What training lowers, beside the loss of the answers: one file each."""
