compile presets/shapes.yaml -o $TMP/a --set defaults.steps=many
