"""What only a real Snowflake account can show, checked in one: `make verify-snowflake`."""
