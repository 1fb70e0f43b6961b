"""The configuration of a pipeline: model, loading, JSON Schema."""
