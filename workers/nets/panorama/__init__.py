"""Wide-range image blending: the networks that draw what lies between two pictures.

Lu, Chang, Chiu: "Bridging the Visual Gap: Wide-Range Image Blending", CVPR 2021,
https://arxiv.org/abs/2103.15149. Parameters have the names of the published weights.
"""
