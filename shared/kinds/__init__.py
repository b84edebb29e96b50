"""The kinds of jobs, one file each; `shared.kind.kinds()` finds them."""
