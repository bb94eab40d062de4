"""Keep personal data out of the data lake: validated, pseudonymized, consented events on Dagster."""

import os

# Arrow's allocator gives memory back after milliseconds, and every chunk would pay for new pages: a tenth of
# the whole job. A run needs its memory until it ends. Read once, when pyarrow is first imported.
os.environ.setdefault("MIMALLOC_PURGE_DELAY", "-1")
