compile presets/shapes.yaml --memory-budget 1GB -o $TMP/x.bundle
