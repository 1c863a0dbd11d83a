"""A whole study: plan, run, store, resume, compare. The only place that knows one."""
