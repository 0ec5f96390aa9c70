"""Count the words of text files.

    python words.py FOLDER OUT.json
"""
import json
import os
import sys


def text_files(folder):
    """All text files below the folder, in the order of their names."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".txt"):
                yield os.path.join(root, name)


def count_words(path, counts):
    with open(path, encoding="utf-8") as file:
        for line in file:
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1


def main(folder, out):
    counts = {}
    for path in text_files(folder):
        count_words(path, counts)
    with open(out, "w") as file:
        json.dump(counts, file, indent=4)


class Interval:
    """The numbers from first up to but not including last."""

    def __init__(self, first, last):
        if last < first:
            raise ValueError("interval ends before it begins")
        self.first = first
        self.last = last

    def __repr__(self):
        return "Interval(%d, %d)" % (self.first, self.last)

    def __len__(self):
        return self.last - self.first

    def __contains__(self, number):
        return self.first <= number < self.last

    def __eq__(self, other):
        if not isinstance(other, Interval):
            return NotImplemented
        return self.first == other.first and self.last == other.last

    def touches(self, other):
        """Return true if the two overlap or follow each other."""
        return self.first <= other.last and other.first <= self.last

    def joined(self, other):
        """Return the interval from the lower first to the higher last."""
        return Interval(min(self.first, other.first),
                        max(self.last, other.last))


class IntervalSet:
    """A sorted list of intervals that do not touch each other."""

    def __init__(self, intervals=()):
        self._list = []
        for interval in intervals:
            self.add(interval)

    def __iter__(self):
        return iter(self._list)

    def __len__(self):
        return sum(len(interval) for interval in self._list)

    def __contains__(self, number):
        place = self._place(number)
        return place > 0 and number in self._list[place - 1]

    def _place(self, number):
        """Return how many intervals begin at or before the number."""
        return sum(interval.first <= number for interval in self._list)

    def add(self, interval):
        """Add an interval; join it with all that it touches."""
        if len(interval) == 0:
            return
        apart = []
        for other in self._list:
            if other.touches(interval):
                interval = interval.joined(other)
            else:
                apart.append(other)
        apart.append(interval)
        apart.sort(key=lambda each: each.first)
        self._list = apart

    def discard(self, interval):
        """Remove the numbers of an interval, whether they are there or not."""
        left = []
        for other in self._list:
            if other.last <= interval.first or interval.last <= other.first:
                left.append(other)
                continue
            if other.first < interval.first:
                left.append(Interval(other.first, interval.first))
            if interval.last < other.last:
                left.append(Interval(interval.last, other.last))
        self._list = left

    def gaps(self):
        """Yield the intervals between those of the set."""
        before = None
        for interval in self._list:
            if before is not None:
                yield Interval(before.last, interval.first)
            before = interval


def parse(text):
    """Read a set as people write line numbers: "1-4, 7, 10-12"."""
    result = IntervalSet()
    for part in text.split(","):
        part = part.strip()
        if not part:
            continue
        first, dash, last = part.partition("-")
        if dash:
            result.add(Interval(int(first), int(last) + 1))
        else:
            result.add(Interval(int(first), int(first) + 1))
    return result


def render(intervals):
    """The reverse of parse."""
    parts = []
    for interval in intervals:
        if len(interval) == 1:
            parts.append(str(interval.first))
        else:
            parts.append("%d-%d" % (interval.first, interval.last - 1))
    return ", ".join(parts)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
