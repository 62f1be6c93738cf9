"""`report.html`: one self-contained page of a suite's answers, numbers, figures, sounds and failures.

`content` gathers plain values, `page.html.jinja` lays them out, `style.css` and `script.js` are put
into the page. Whatever comes from users (names, errors, logs) is escaped by the template. Nothing is
fetched from anywhere, and everything can be read without JavaScript.
"""
