"""Implicit Neural Clustering: worlds -> models -> actions -> clustering -> metrics -> plots."""
