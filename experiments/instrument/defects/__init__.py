"""The seeded-defect benchmark: defects of the catalogue, planted one at a time in small models, and right ports."""
