"""What every method, fusion, view, source, model and task must hold, checked on anyone's class, ours included.

.. code-block:: python

    from overtone.testing import check_method

    def test_mine():
        check_method(Mine, {"temperature": 2.0})

Each check returns nothing, or raises an ``AssertionError`` with one sentence on what is wrong and what the class should
do. They need a second or two and no test runner.
"""

from overtone.testing.fusion import check_fusion
from overtone.testing.method import check_method
from overtone.testing.model import check_model
from overtone.testing.source import check_source
from overtone.testing.task import check_task
from overtone.testing.view import check_view

__all__ = ["check_fusion", "check_method", "check_model", "check_source", "check_task", "check_view"]
