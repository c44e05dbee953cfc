"""Write two tables to try the commands on: passengers who survive or not, and wines of a quality.

They are made up: the first is like the list of the Titanic's passengers, the second like the tests
of Portuguese wines that machine learning is taught by. Columns are numbers, texts and dates, and
some cells are empty. ``passengers-new.csv`` and ``wines-new.csv`` are later rows, as they come from
elsewhere: in another order of columns, without what is to be predicted, with a port that nobody has
boarded at before.
"""

import csv
from pathlib import Path

import numpy as np

FIRST = ("Anna", "Clara", "Edith", "Henry", "John", "Karl", "Maria", "Oskar", "Ruth", "William")
LAST = ("Andersson", "Becker", "Dahl", "Goodwin", "Hart", "Keane", "Lindqvist", "Olsen", "Rice")
PORTS = ("Cherbourg", "Queenstown", "Southampton")
Rows = list[dict[str, object]]


def passengers(n: int, rng: np.random.Generator) -> Rows:
    """Passengers: who is a woman, young, or in a better class survives more often."""
    rows: Rows = []
    for i in range(n):
        woman = rng.random() < 0.36
        cabin = int(rng.choice([1, 2, 3], p=[0.24, 0.21, 0.55]))
        age = round(float(np.clip(rng.normal(40 - 5 * cabin, 13), 0.5, 80)), 1)
        relatives = int(rng.poisson(0.9 if age < 16 else 0.4))
        fare = round(float(rng.lognormal(4.6 - 0.7 * cabin, 0.4)) * (1 + 0.3 * relatives), 2)
        odds = 2.6 * woman - 0.9 * (cabin - 2) + 1.8 * (age < 12) - 0.25 * relatives - 1.1
        survives = rng.random() < 1 / (1 + np.exp(-2 * odds))
        rows.append(
            {
                "id": i + 1,
                "name": f"{rng.choice(LAST)}, {rng.choice(FIRST)} {i}",
                "class": cabin,
                "sex": "female" if woman else "male",
                "age": "" if rng.random() < 0.2 else age,
                "relatives": relatives,
                "fare": fare,
                "port": "" if rng.random() < 0.01 else str(rng.choice(PORTS, p=[0.2, 0.1, 0.7])),
                "survived": "yes" if survives else "no",
            }
        )
    return rows


def wines(n: int, rng: np.random.Generator) -> Rows:
    """Wines: their quality, from 3 to 8, goes by alcohol, acidity and sulphates."""
    rows: Rows = []
    for _ in range(n):
        red = rng.random() < 0.3
        alcohol = float(np.clip(rng.gamma(20, 0.52), 8, 15))
        acidity = float(np.clip(rng.lognormal(-0.7 if red else -1.3, 0.35), 0.08, 1.6))
        sulphates = float(rng.lognormal(-0.45 if red else -0.75, 0.25))
        sugar = float(rng.lognormal(0.8 if red else 1.5, 0.35 if red else 0.8))
        score = 0.55 * (alcohol - 10.4) - 1.6 * (acidity - 0.35) + 1.2 * np.log(sulphates / 0.5)
        rows.append(
            {
                "colour": "red" if red else "white",
                "bottled": f"{2004 + int(rng.integers(6))}-{int(rng.integers(1, 13)):02}-15",
                "volatile acidity": round(acidity, 3),
                "residual sugar": round(sugar, 1),
                "sulphates": round(sulphates, 2),
                "density": round(0.9978 - 0.0011 * (alcohol - 10) + 0.0003 * sugar, 5),
                "pH": "" if rng.random() < 0.03 else round(float(rng.normal(3.2, 0.15)), 2),
                "alcohol": round(alcohol, 1),
                "quality": int(np.clip(round(5.6 + score + float(rng.normal(0, 0.45))), 3, 8)),
            }
        )
    return rows


def write(path: Path, rows: Rows, columns: list[str]) -> None:
    """Write these columns of the rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} rows, {len(columns)} columns")


rng = np.random.default_rng(0)
for name, make, target, n in (
    ("passengers", passengers, "survived", 900),
    ("wines", wines, "quality", 1600),
):
    rows = make(n + 50, rng)
    write(Path(f"{name}.csv"), rows[:n], list(rows[0]))
    new = rows[n:]
    if name == "passengers":
        new[0]["port"] = "Belfast"
    write(Path(f"{name}-new.csv"), new, [c for c in reversed(list(rows[0])) if c != target])

with Path("passengers.csv").open(encoding="utf-8") as file:
    assert sum(1 for _ in csv.DictReader(file)) == 900
