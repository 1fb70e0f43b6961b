"""Where Arrow takes the memory of columns from; to be imported before pyarrow is.

The pool that Arrow chooses by itself asks for huge pages and gives them back between pages of
documents. Where clearing those is slow, as in small virtual machines, that took a third of the time
of a large window, and everywhere a tenth more memory. So here it is the system's allocator, also in
the processes that this one starts, unless the variable ARROW_DEFAULT_MEMORY_POOL names another.

Where pyarrow was imported earlier, by code of the user's own, Arrow has chosen already and nothing
changes; set the variable for the process then.
"""

import os

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
