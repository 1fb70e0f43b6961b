"""How fast a window leaves Elasticsearch, beside the ways that people use today."""
