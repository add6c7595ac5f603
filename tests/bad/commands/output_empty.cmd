compile presets/shapes.yaml -o
