"""Kinds of figures. Each is a class as `contracts.Figure` has it, registered in `harness.figures`.

A kind may also have ``numbers(data) -> DataFrame``, the tidy numbers that it draws, which a report
writes as CSV beside the picture.
"""
