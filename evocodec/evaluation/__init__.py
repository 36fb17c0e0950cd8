"""How a number is made: clips, metrics, anchors, curves, stages."""
