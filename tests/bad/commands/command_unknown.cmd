compil presets/shapes.yaml
