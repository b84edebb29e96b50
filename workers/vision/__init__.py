"""Models that look at a picture and write: what captioner and vqa are made of."""
