"""From run records to tables: collection and paired comparison; no torch from here on."""
