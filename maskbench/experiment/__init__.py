"""From a configuration to runs: typed, validated before anything starts, without torch."""
