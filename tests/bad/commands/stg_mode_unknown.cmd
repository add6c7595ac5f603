compile presets/shapes.yaml --set options.stg_mode=stg -o $TMP/x.bundle
