compile presets/shapes.yaml -o $TMP/a --only vae
