"""A scikit-learn pipeline and grid search; only the import of the classifier is not scikit-learn's.

Needs scikit-learn: pip install scikit-learn.
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from arraymlp import MLPClassifier  # was: from sklearn.neural_network import MLPClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

pipeline = make_pipeline(StandardScaler(), MLPClassifier(random_state=0, max_iter=100, tol=0.01))
grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__dropout": [0.0, 0.2]}
search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X_train, y_train)
accuracy = search.score(X_test, y_test)
print(f"{search.best_params_}: {accuracy:.3f} of the test digits")

assert accuracy > 0.96
