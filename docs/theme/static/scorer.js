// Where the search puts a page: lessons and guides before the pages of source, and a page under its own words first.
var Scorer = {
  score: ([page, title, anchor, description, score]) =>
    score + (/^(lessons|guides|reference)\//.test(page) || page === "index" ? 4 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
