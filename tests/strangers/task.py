from overtone.tasks import Classification, Metric

LEAST = Metric(
    "least", "least recall", "%", factor=100, digits=1, ends=(0, 100), about="of the class found least often"
)


class Graded(Classification):
    """Classes, and how often the worst one is found."""

    NAME = "graded"
    METRICS = (*Classification.METRICS, LEAST)

    def scores(self, predictions, truth, context=None):
        found = super().scores(predictions, truth, context)
        right = self.right(predictions, truth)
        recalls = [float(right[(truth == c).numpy()].mean()) for c in range(self.outputs) if bool((truth == c).any())]
        return {**found, LEAST.key: min(recalls)}
