"""What the table does when it is clicked: sort, filter, open. Without it the page still shows everything."""

SCRIPT = """
'use strict';
const table = document.getElementById('layers');
const bodies = () => [...table.tBodies];
const cellValue = (body, column) => {
  const cell = body.rows[0].cells[column];
  return cell.dataset.value ?? cell.textContent;
};
table.tHead.querySelectorAll('th').forEach((heading, column) => {
  heading.querySelector('button').addEventListener('click', () => {
    const ascending = heading.getAttribute('aria-sort') === 'descending' ||
      (heading.dataset.kind === 'text' && !heading.hasAttribute('aria-sort')) ||
      (column === 0 && heading.getAttribute('aria-sort') !== 'ascending');
    table.tHead.querySelectorAll('th').forEach((other) => other.removeAttribute('aria-sort'));
    heading.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
    const order = (a, b) => heading.dataset.kind === 'number'
      ? Number(cellValue(a, column)) - Number(cellValue(b, column))
      : cellValue(a, column).localeCompare(cellValue(b, column), undefined, { numeric: true });
    bodies().sort((a, b) => (ascending ? 1 : -1) * order(a, b)).forEach((body) => table.append(body));
  });
});
const expand = (body, open) => {
  body.rows[1].hidden = !open;
  body.querySelector('button.name').setAttribute('aria-expanded', String(open));
};
table.addEventListener('click', (event) => {
  const name = event.target.closest('button.name');
  if (name) expand(name.closest('tbody'), name.getAttribute('aria-expanded') !== 'true');
});
const words = document.getElementById('words');
const selects = [...document.querySelectorAll('[data-filter]')];
const filter = () => {
  const wanted = words.value.trim().toLowerCase();
  let shown = 0;
  for (const body of bodies()) {
    const text = `${body.rows[0].cells[1].textContent} ${body.rows[0].cells[2].textContent}`.toLowerCase();
    const keep = text.includes(wanted) &&
      selects.every((select) => !select.value || body.dataset[select.dataset.filter] === select.value);
    body.hidden = !keep;
    shown += keep;
  }
  document.getElementById('count').textContent = `${shown} of ${table.tBodies.length} rows`;
};
words.addEventListener('input', filter);
selects.forEach((select) => select.addEventListener('change', filter));
words.form.addEventListener('submit', (event) => event.preventDefault());
const follow = () => {
  const body = location.hash.startsWith('#entry-') && document.getElementById(location.hash.slice(1));
  if (!body) return;
  body.hidden = false;
  expand(body, true);
  body.scrollIntoView({ block: 'center' });
};
addEventListener('hashchange', follow);
follow();
"""
