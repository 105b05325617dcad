"""scikit-learn's multi-layer perceptrons, computed by xpnet on the device of the arrays that are passed.

The module needs scikit-learn: the extra `sklearn`. After ``sklearn.set_config(array_api_dispatch=True)``, the
estimators compute with PyTorch, CuPy and other libraries, and return their arrays. Without this setting, they use
NumPy, as scikit-learn does.
"""

from .perceptrons import MLPClassifier, MLPRegressor
from .searches import GridSearchCV, MLPEnsemble, RandomizedSearchCV

__all__ = ["GridSearchCV", "MLPClassifier", "MLPEnsemble", "MLPRegressor", "RandomizedSearchCV"]
