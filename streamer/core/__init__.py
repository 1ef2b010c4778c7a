"""Pure numerics of Streamer: arrays in, arrays out. No sockets, files, clocks or threads of its own.

Projections are (frame, row, column), tomograms (row, y, x). Pixel centres lie at integers, the middle of the image at
((N-1)/2, (N-1)/2). A world point (x, y) is seen at angle θ in column ``center + (x-cx)·cosθ + (y-cy)·sinθ``.
"""
