"""What the configuration reference says beside its tables."""

EXAMPLE = """\
pipeline_metadata:
  pipeline_name: orders
  pipeline_description: Orders of the web shop, by the hour they were placed.
  owner_name: Data platform
  owner_email: data-platform@example.com
schedule:
  timezone: UTC
  start_date: 2025-01-01
  automatic: true               # the sensor runs windows as soon as they are ready
query_window:
  duration: 1h
  x_time_back: 15m              # a window is ready 15 minutes after its end
source_system:
  type: postgres
  host: db.example.com
  database: shop
  user: reader
  password: env:SHOP_DB_PASSWORD
  schema: public
  table: orders
  query_field: created_at       # places a row in a window
  change_field: updated_at      # grows when a row changes
  required_fields: [order_id]
stage_system:
  type: local
  path: data/stage
target_system:
  type: postgres
  host: warehouse.example.com
  database: analytics
  user: loader
  password: env:WAREHOUSE_PASSWORD
  schema: shop
  table: orders
phases:
  source_to_stage_transfer:
    expected_run_duration: 5m
    timeout: 1h
  audit:
    count_tolerances:
      source_to_stage_tolerance_percent: 0.5    # rows without order_id are rejected
  stage_cleaning:
    enabled: true
    delete_after_days: 7
retry:
  max_retries: 3
  backoff_strategy: exponential
  backoff_seconds: 10
"""

INTRO = """\
# Configuration

<!-- Written by `python -m pipeline_platform.config.reference` from the model. Do not edit. -->

A pipeline is one config. It stands in one of two places:

- inline, below `attributes:` of `defs/<folder>/defs.yaml`, with the component type
  `pipeline_platform.WindowedPipeline`;
- in a YAML or JSON file of its own beside that `defs.yaml`, which then says
  `attributes: {config: orders.yaml}`.

`pipeline-platform validate` checks all of it, and that source, stage and target answer. An unknown
key is an error. All mistakes are reported at once, each with file, line and an example of what is
right. The same as a JSON Schema, for editors and reviews:
[pipeline.schema.json](pipeline.schema.json).
"""

TYPES = """\
## Types

| type | what to write |
| --- | --- |
| duration | days, hours, minutes and seconds in this order: `1h30m`, `15m`, `1d`, `45s` |
| percent | a number from 0 to 100, at most four decimals: `2.5` |
| time zone | an IANA name: `UTC`, `America/New_York` |
| day | `YYYY-MM-DD`, in `schedule.timezone` |
| cron expression | minute, hour, day of month, month, day of week: `0 6 * * *` |
| path | a path on this machine, without `~`; a relative one counts from the project folder |
| secret reference | `env:NAME`, the environment variable that holds the secret; never the secret |
| import path | `package.module:Class`, a class of your own, installed where Dagster runs |

The project folder is the nearest one upwards with a `pyproject.toml`. *required* in the column
"default" marks what has no default; a section in which nothing is required may be left out.

"yes" in the column "reload" marks settings that decide rows or values: a window that is run again
after a change of one of them is moved again instead of skipped. No change moves a window by itself:
see [Changing a config](operating.md#changing-a-config).
"""

STATE = """\
## Drive table

One for all pipelines of a project: a component of its own in `defs/drive_table/defs.yaml`. `type`
chooses the database, `duckdb` if it is left out.

```yaml
type: pipeline_platform.DriveTable

attributes:
  type: postgres
  host: warehouse.example.com
  database: analytics
  user: pipeline
  password: env:DRIVE_TABLE_PASSWORD
  schema: pipeline_platform
```

Instead, `attributes: {config: postgres.yaml}` names a YAML file beside it that holds the
attributes; with a template, `config: "{{ env('DRIVE_TABLE', 'duckdb') }}.yaml"`, an environment
variable chooses between several. This project does so: `DRIVE_TABLE=snowflake` is all it takes.
"""
