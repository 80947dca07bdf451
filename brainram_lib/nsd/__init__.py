"""The Natural Scenes Dataset's files: layout, reading, design and splits, captions, regions, surfaces."""
