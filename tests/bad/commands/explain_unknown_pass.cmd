explain presets/shapes.yaml --diff fold-constant
