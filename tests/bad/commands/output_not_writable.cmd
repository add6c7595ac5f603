compile presets/shapes.yaml -o /proc/never/a
