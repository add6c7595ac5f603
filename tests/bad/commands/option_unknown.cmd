compile presets/shapes.yaml --set options.stg=none -o $TMP/x.bundle
