"""What one model at one provider costs: the price table's row with the provider's multiplier."""

from typing import NamedTuple

from ..core import prices
from ..core.prices import Price, PriceTable
from ..core.providers import ProviderSpec
from ..core.rates import Rates, only
from ..core.usage import Usage
from ..errors import Unpriced


class Priced(NamedTuple):
    """A model's price at a provider. All amounts are nano-dollars."""

    price: Price
    spec: ProviderSpec
    table: PriceTable

    @classmethod
    def find(cls, table: PriceTable, spec: ProviderSpec, model: str) -> "Priced":
        """Look a model up.

        Raises:
            Unpriced: it has no price, and is not marked free.
        """
        price = table.lookup(spec.kind, spec.priced_as(model), provider=spec.name, multiplier=spec.multiplier)
        return cls(price, spec, table)

    @classmethod
    def nothing(cls, table: PriceTable, spec: ProviderSpec, model: str) -> "Priced":
        """Return the price of what a provider does for nothing."""
        return cls(Price(spec.kind, model, free=True, tiers=only(Rates())), spec, table)

    def worst(self, input_tokens: int, output_tokens: int) -> int:
        """Return the most that a call within these bounds can cost."""
        return prices.worst(self.price, input_tokens, output_tokens)

    def affordable_output(self, input_tokens: int, money: int, answers: int) -> int:
        """Return the largest output cap per answer with which the call costs at most ``money``; -1 if none does."""
        return prices.affordable_output(self.price, input_tokens, money, n=answers)

    def cost(self, usage: Usage, tier: str | None, model_answered: str | None) -> int:
        """Return what a call cost: by the dearer of the model asked for and the one that answered."""
        tier = tier if tier and tier != "auto" and self.spec.speaks_openai else "default"
        cost = prices.cost(self.price, usage, tier=tier)
        other = self._other(model_answered)
        return cost if other is None else max(cost, prices.cost(other, usage, tier=tier))

    def _other(self, model: str | None) -> Price | None:
        if not model or self.price.free or model == self.price.model:
            return None
        if self.price.kind == "configured" and model.startswith(f"{self.price.model}-"):
            return None  # a dated name of the model whose price the host has set
        try:
            return self.table.lookup(self.spec.kind, model, provider=self.spec.name, multiplier=self.spec.multiplier)
        except Unpriced:
            return None
