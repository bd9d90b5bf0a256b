"""What situational questions are built from: facets of the five traits with both their directions, and topics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from temperament.calibration.public import read_rows, read_text, text_field
from temperament.errors import TemperamentError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Facet:
    """A facet of a trait, and what people at either end of it do."""

    name: str
    plus: str
    minus: str


#: Facet names are those of the IPIP-NEO; what people do is in our own words.
FACETS: dict[str, tuple[Facet, ...]] = {
    "openness": (
        Facet("Imagination", "drift into invented worlds and what-ifs", "keep their thoughts on what is at hand"),
        Facet("Artistic Interests", "stop for music, pictures or a fine view", "walk past art without a glance"),
        Facet("Emotionality", "dwell on what they feel and why", "pay their moods little heed"),
        Facet("Adventurousness", "swap a habit for something untried", "stay with what they know works"),
        Facet(
            "Intellect", "chew on a hard or abstract problem for pleasure", "skip theory and ask what it is good for"
        ),
        Facet("Liberalism", "question rules that others take as given", "side with custom and established authority"),
    ),
    "conscientiousness": (
        Facet("Self-Efficacy", "trust themselves to get a task done well", "doubt that they are up to the task"),
        Facet("Orderliness", "give each thing its place and time", "live happily among heaps and loose ends"),
        Facet(
            "Dutifulness",
            "do as promised although it has become a burden",
            "bend a promise or rule that gets in the way",
        ),
        Facet("Achievement-Striving", "do more than was asked, to excel", "aim for no more than a pass"),
        Facet("Self-Discipline", "start at once and see it through", "put off the start and give up halfway"),
        Facet("Cautiousness", "weigh what may follow before deciding", "leap first and think later"),
    ),
    "extraversion": (
        Facet("Friendliness", "warm to new people within minutes", "keep new people at arm's length"),
        Facet("Gregariousness", "look for the fullest room", "slip away to an empty corner"),
        Facet("Assertiveness", "speak up and take the lead", "let someone else make the choice"),
        Facet("Activity Level", "fill the day from morning to night", "take the day slowly, with long pauses"),
        Facet("Excitement-Seeking", "go where it is loud, fast or risky", "avoid noise and thrills"),
        Facet("Cheerfulness", "bubble over with fun and laughter", "show little joy on the outside"),
    ),
    "agreeableness": (
        Facet("Trust", "assume that others mean well", "suspect a catch behind a kind act"),
        Facet("Morality", "play with open cards", "use a trick to gain an edge"),
        Facet("Altruism", "give time or goods to someone in need", "leave others to solve their own troubles"),
        Facet("Cooperation", "give in for the sake of peace", "fight it out and enjoy the clash"),
        Facet("Modesty", "play down what they did well", "let everyone know how good they are"),
        Facet("Sympathy", "ache at the hardship of a stranger", "hold that hardship is mostly deserved"),
    ),
    "neuroticism": (
        Facet("Anxiety", "picture all that might go wrong", "expect that it will turn out all right"),
        Facet("Anger", "boil over at a small slight", "let a slight pass without heat"),
        Facet("Depression", "sink into gloom and self-blame", "stay on good terms with themselves"),
        Facet("Self-Consciousness", "squirm under the eyes of others", "not mind who is watching"),
        Facet("Immoderation", "give in to a craving and regret it", "leave a temptation alone with ease"),
        Facet("Vulnerability", "lose their head when much happens at once", "keep a clear head under pressure"),
    ),
}

TOPICS: tuple[str, ...] = (
    "a first week in a new job",
    "meetings and teamwork",
    "school and examinations",
    "family meals and visits",
    "raising children",
    "old and new friends",
    "love and dating",
    "neighbours",
    "the household",
    "money and bills",
    "shopping and markets",
    "cooking and eating out",
    "journeys and foreign places",
    "buses, trains and traffic",
    "sport and games",
    "music, film and books",
    "gardens, animals and the outdoors",
    "illness and doctors",
    "machines and phones that fail",
    "messages and life online",
    "feasts and birthdays",
    "clubs and volunteering",
    "moving house",
    "a quiet evening",
)


def read_facets(path: Path) -> tuple[Facet, ...]:
    """JSON lines {facet, plus, minus}: a name, and what people at either end of it do."""
    rows = read_rows(path, lines=True)
    return _some(
        path,
        [Facet(*(text_field(path, number, row, key) for key in ("facet", "plus", "minus"))) for number, row in rows],
        lambda facet: facet.name.lower(),
    )


def read_topics(path: Path) -> tuple[str, ...]:
    """Topics, one a line."""
    return _some(path, [line.strip() for line in read_text(path).split("\n") if line.strip()], str.lower)


def _some(path: Path, rows: list[Row], name: Callable[[Row], str]) -> tuple[Row, ...]:
    if not rows:
        raise TemperamentError(f"{path} is empty", "give a line per facet {facet, plus, minus}, or per topic")
    repeated = len(rows) - len({name(row) for row in rows})
    if repeated:
        raise TemperamentError(f"{path} names {repeated} of its entries twice", "give each once")
    return tuple(rows)
