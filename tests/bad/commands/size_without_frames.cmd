dump presets/shapes.yaml --size 64x64
