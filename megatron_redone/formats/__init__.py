"""What lies on disk: input records, indexed token datasets and their manifests. No torch."""
