"""All fuzz targets, by name."""

from tests.fuzz import documents, expressions, inspected, readers, replies, stored, values

TARGETS = {
    target.name: target
    for module in (readers, inspected, values, documents, expressions, replies, stored)
    for target in module.TARGETS
}
