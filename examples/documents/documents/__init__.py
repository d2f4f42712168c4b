"""Documents are uploaded, processed by workers, and asked for."""
