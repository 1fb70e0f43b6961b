"""Documents of Elasticsearch: `source.py` is the connector, the rest its parts."""
