"""Configuration: frozen dataclasses filled from defaults, then a YAML file, then `a.b=c` overrides."""
