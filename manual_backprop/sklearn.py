"""The network as an estimator of scikit-learn, for its pipelines, cross-validation and grid search.

Needs the extra `sklearn`: pip install "manual-backprop[sklearn]".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.early_stopping import EarlyStopping
from manual_backprop.layers import softmax
from manual_backprop.networks.mlp import MLP
from manual_backprop.optimizers import Adam
from manual_backprop.training import evaluate, train_epochs


class BackpropClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A multilayer perceptron with relu and softmax, trained by Adam on hand-derived gradients.

    The parameters have the names, meanings and defaults of `sklearn.neural_network.MLPClassifier`, of which they are a
    part. It computes in float32 where `X` is float32, and in float64 elsewhere.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int
        Units of each hidden layer.
    alpha : float
        L2 regularisation of the weights; as there, divided by the size of the batch.
    batch_size : int or "auto"
        Examples for each update; "auto" is the smaller of 200 and all of them.
    learning_rate_init : float
        Adam's learning rate.
    max_iter : int
        Most epochs.
    random_state : int, RandomState instance or None
        Decides the initial weights, the order of the examples, and which of them validate.
    tol : float
        A loss is better if it is lower by more than this.
    verbose : bool
        Print the loss of each epoch.
    early_stopping : bool
        Stop on the loss of examples that are held out, and keep the best weights; otherwise on the training loss.
    validation_fraction : float
        How many are held out.
    beta_1, beta_2, epsilon : float
        Adam's.
    n_iter_no_change : int
        Epochs without a better loss before training stops.

    Attributes
    ----------
    classes_ : array (K,)
        The labels.
    network_ : MLP
        The network.
    n_iter_ : int
        Epochs that were trained.
    loss_curve_, validation_losses_ : list of float
        The losses of each epoch; the second is empty without `early_stopping`.
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        *,
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change

    def fit(self, X: ArrayLike, y: ArrayLike) -> "BackpropClassifier":  # noqa: N803 (scikit-learn's name)
        """Train on examples (N, F) with labels (N,) of any kind."""
        x, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        random = check_random_state(self.random_state)
        sizes = [x.shape[1], *np.atleast_1d(self.hidden_layer_sizes).tolist(), len(self.classes_)]
        network = MLP.xavier(sizes, random.randint(2**31), x.dtype)
        self._train(network, self._dataset(x, labels.astype(np.int64), random), random.randint(2**31))
        self.network_ = network
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the probability of each class, (N, K)."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return softmax(self.network_(x))

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the most probable label of each example, (N,)."""
        most_probable = self.predict_proba(X).argmax(axis=1)
        return self.classes_[most_probable]

    def _dataset(self, x: NDArray[Any], labels: NDArray[np.int64], random: np.random.RandomState) -> Dataset:
        """Return the examples in memory of our own, some of them held out if that is wanted."""
        count = max(1, round(self.validation_fraction * len(x))) if self.early_stopping else 0
        if count >= len(x):
            raise ValueError(f"validation_fraction={self.validation_fraction} of {len(x)} samples leaves none to train")
        order = random.permutation(len(x))
        valid, train = (Split(x[rows], labels[rows]) for rows in np.split(order, [count]))
        names = tuple(map(str, self.classes_))
        return Dataset(train, valid, Split(x[:0], labels[:0]), "arrays", names, (1, x.shape[1]))

    def _train(self, network: MLP, dataset: Dataset, seed: int) -> None:
        count = len(dataset.train)
        batch_size = min(200, count) if self.batch_size == "auto" else min(int(self.batch_size), count)
        decay = {name: self.alpha / batch_size * name.endswith("weight") for name in network.parameters}
        betas = self.beta_1, self.beta_2
        optimizer = Adam(network.parameters, self.learning_rate_init, betas, self.epsilon, decay)
        stopping = EarlyStopping(network.parameters, self.n_iter_no_change, self.tol)
        self.loss_curve_: list[float] = []
        self.validation_losses_: list[float] = []
        for metrics in train_epochs(network, optimizer, dataset, range(self.max_iter), batch_size, seed):
            loss = metrics.train_loss
            self.loss_curve_.append(loss)
            if self.early_stopping:
                loss = evaluate(network, dataset.valid).loss
                self.validation_losses_.append(loss)
            if self.verbose:
                print(f"Iteration {len(self.loss_curve_)}, loss = {loss:.8f}")
            if stopping.after(loss):
                break
        if self.early_stopping:
            stopping.restore()
        self.n_iter_ = len(self.loss_curve_)
