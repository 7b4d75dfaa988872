"""The methods as labs run them: scikit-image's radon for each window, numpy's medians for each sample.

Owns: timing on one core, in processor time. Never: answers that kymhost must give (it prints what it found; the benchmark compares).

    python analysis.py radon FILE LINES WIDTH WINDOWS    float32 pixels, line after line; one result a line: window, angle
    python analysis.py events FILE SAMPLES               float64 speeds, NaN where unknown, 200 samples a second

The last line is `seconds N`, for each window or sample.
"""

import sys
import time

import numpy as np


def radon_windows(file, lines, width, windows):
    from skimage.transform import radon

    image = np.fromfile(file, dtype="<f4").reshape(lines, width)
    coarse = np.arange(180, dtype=np.float32)
    fine = np.arange(-2, 2.25, 0.25, dtype=np.float32)
    count = lines // 4 - 3
    chosen = np.linspace(0, count - 1, windows).astype(int)
    begun = time.process_time()
    found = []
    for window in chosen:
        pixels = image[4 * window : 4 * window + 16]
        pixels = pixels - np.mean(pixels)
        best = coarse[np.argmax(np.var(radon(pixels, theta=coarse, circle=False), axis=0))]
        around = best + fine
        found.append(around[np.argmax(np.var(radon(pixels, theta=around, circle=False), axis=0))])
    seconds = time.process_time() - begun
    for window, angle in zip(chosen, found):
        print(window, angle)
    return seconds / windows


def event_medians(file, samples):
    speeds = np.fromfile(file, dtype="<f8")
    width, half = 50, 10
    begun = time.process_time()
    for sample in range(samples):
        for window in (
            speeds[max(0, sample - width) : sample],
            speeds[sample : sample + width],
            speeds[max(0, sample - half) : sample + half + 1],
        ):
            known = window[np.isfinite(window)]
            if known.size:
                np.median(known)
    return (time.process_time() - begun) / samples


what, file, *numbers = sys.argv[1:]
numbers = [int(number) for number in numbers]
seconds = radon_windows(file, *numbers) if what == "radon" else event_medians(file, *numbers)
print("seconds", seconds)
