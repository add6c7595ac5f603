exec $BUNDLE transformer --input presets/shapes.yaml
