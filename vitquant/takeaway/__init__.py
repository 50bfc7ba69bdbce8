"""Files that go along with an exported model, as they are: they import nothing of vitquant.

Every export has predict.py and labels.json; its load.py and transform.py are those of its format
(exports.FORMATS). They import each other by the names they have there.
"""
