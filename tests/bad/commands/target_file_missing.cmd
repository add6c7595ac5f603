compile presets/shapes.yaml -o $TMP/a --target mine.yaml
