"""The application of the demo: a small shop over SQLite. It is what a user would write, and knows nothing of a drill.

    GET  /                         the best sellers
    GET  /products/{sku}           one product with what others bought
    POST /checkout?user=…          an order, through the old checkout or the new one

The catalogue is drawn from a seeded generator and lives in memory; a checkout asks a payment provider that takes its
time.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import zlib
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from canary_sdk.integrations.asgi import CanaryMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request

    from canary_sdk.runtime.client import Canary

FLAG_KEY: Final = "new-checkout"
PRODUCTS: Final = 2_000
SALES: Final = 20_000
WORDS: Final = (
    ("red", "blue", "warm", "small", "quiet", "bright"),
    ("lamp", "chair", "kettle", "bicycle", "desk", "coat"),
)

SCHEMA: Final = """
    create table product (sku text primary key, name text, cents integer, stock integer);
    create table sale (sku text, buyer integer);
    create index sale_by_sku on sale (sku, buyer);
    create index sale_by_buyer on sale (buyer, sku);
"""
BEST_SELLERS: Final = """
    select sku, name, cents from product where stock > 0 and rowid between ? and ? order by cents desc limit 12
"""
ALSO_BOUGHT: Final = """
    select other.sku, count(*) as times from sale join sale as other on other.buyer = sale.buyer
    where sale.sku = ? and other.sku <> sale.sku group by other.sku order by times desc limit 5
"""


class Catalogue:
    """The shop's data. Threads: the event loop's only."""

    def __init__(self, seed: int) -> None:
        """Fill it; the same seed gives the same shop."""
        draw = random.Random(seed)  # noqa: S311 - goods, not secrets
        self._rows = sqlite3.connect(":memory:", check_same_thread=False)
        self._rows.executescript(SCHEMA)
        self._rows.executemany("insert into product values (?, ?, ?, ?)", (_product(i, draw) for i in range(PRODUCTS)))
        sales = ((sku_of(draw.randrange(PRODUCTS)), draw.randrange(SALES // 8)) for _ in range(SALES))
        self._rows.executemany("insert into sale values (?, ?)", sales)
        self._rows.commit()

    def best_sellers(self, page: int) -> list[tuple[Any, ...]]:
        """Return a dozen products."""
        first = page * 400 % PRODUCTS
        return self._rows.execute(BEST_SELLERS, (first, first + 400)).fetchall()

    def product(self, sku: str) -> tuple[Any, ...] | None:
        """Return one product."""
        found: tuple[Any, ...] | None = self._rows.execute("select * from product where sku = ?", (sku,)).fetchone()
        return found

    def also_bought(self, sku: str) -> list[tuple[Any, ...]]:
        """Return what the buyers of a product bought as well."""
        return self._rows.execute(ALSO_BOUGHT, (sku,)).fetchall()

    def close(self) -> None:
        """Let go of it."""
        self._rows.close()


def shop(canary: Canary, catalogue: Catalogue) -> Starlette:
    """Return the shop, measured by `canary`, with the new checkout behind a flag."""

    async def legacy_checkout(user: str) -> dict[str, object]:
        basket = _basket(user)
        lines = [catalogue.product(sku) for sku in basket]
        await _pay(user, seconds=0.008)
        return {"user": user, "lines": len(lines), "cents": sum(line[2] for line in lines if line), "by": "legacy"}

    @canary.feature(FLAG_KEY, fallback=legacy_checkout, key="user")
    async def checkout(user: str) -> dict[str, object]:
        basket = _basket(user)
        lines = [catalogue.product(sku) for sku in basket]
        advice = catalogue.also_bought(basket[0])
        await _pay(user, seconds=0.006)
        cents = sum(line[2] for line in lines if line)
        return {"user": user, "lines": len(lines), "cents": cents, "advice": [sku for sku, _ in advice], "by": "new"}

    async def home(request: Request) -> JSONResponse:
        return JSONResponse(catalogue.best_sellers(zlib.crc32(_user(request).encode()) % 5))

    async def product(request: Request) -> JSONResponse:
        sku = request.path_params["sku"]
        found = catalogue.product(sku)
        if found is None:
            return JSONResponse({"error": "no such product"}, status_code=404)
        return JSONResponse({"product": found, "also": catalogue.also_bought(sku)})

    async def order(request: Request) -> JSONResponse:
        return JSONResponse(await checkout(_user(request)))

    routes = [
        _route("/", home, "GET"),
        _route("/products/{sku}", product, "GET"),
        _route("/checkout", order, "POST"),
    ]
    return Starlette(routes=routes, middleware=[Middleware(CanaryMiddleware, canary=canary)])


def sku_of(number: int) -> str:
    """Return the name of a product."""
    return f"SKU-{number:05d}"


async def _pay(user: str, seconds: float) -> None:
    """Ask the payment provider, who takes up to twice as long, always the same for the same user."""
    await asyncio.sleep(seconds * (1 + zlib.crc32(user.encode()) % 100 / 100))


def _basket(user: str) -> list[str]:
    start = zlib.crc32(user.encode())
    return [sku_of((start + step * 137) % PRODUCTS) for step in range(1 + start % 4)]


def _user(request: Request) -> str:
    return request.query_params.get("user", "anonymous")


def _product(number: int, draw: random.Random) -> tuple[str, str, int, int]:
    name = " ".join(draw.choice(words) for words in WORDS)
    return sku_of(number), name, draw.randrange(500, 50_000), draw.randrange(100)


def _route(path: str, endpoint: Callable[[Request], Coroutine[Any, Any, JSONResponse]], method: str) -> Route:
    return Route(path, endpoint, methods=[method])
