-- SELECT's clauses. Everything is read from the views o (orders), c (customers) and e (events).
SELECT id, status FROM o WHERE total > 10
SELECT id, total * qty AS sum, CASE WHEN qty > 2 THEN 'many' WHEN qty = 0 THEN 'none' ELSE 'few' END AS size FROM o
SELECT id, COALESCE(note, status, 'nothing') AS said, NULLIF(qty, 0) AS some, GREATEST(qty, 2), LEAST(total, 50) FROM o
SELECT DISTINCT status, qty > 2 AS many FROM o
SELECT DISTINCT ON (customer) customer, id, total FROM o ORDER BY customer, total DESC, id
SELECT status FROM o UNION SELECT city FROM c
SELECT status FROM o UNION ALL SELECT city FROM c
SELECT customer FROM o INTERSECT SELECT id FROM c
SELECT customer FROM o INTERSECT ALL SELECT id FROM c
SELECT id FROM c EXCEPT SELECT customer FROM o
SELECT customer FROM o EXCEPT ALL SELECT id FROM c
(SELECT qty FROM o EXCEPT SELECT 1) UNION (SELECT id FROM c INTERSECT SELECT 3)
SELECT o.id, c.name FROM o JOIN c ON o.customer = c.id
SELECT o.id, c.name FROM o LEFT JOIN c ON o.customer = c.id AND c.city = 'Rome'
SELECT o.id, c.name FROM o RIGHT JOIN c ON o.customer = c.id
SELECT o.id, c.id, c.name FROM o FULL JOIN c ON o.customer = c.id
SELECT id, o.status, c.name FROM o JOIN c USING (id)
SELECT * FROM (SELECT id, customer AS k FROM o) x NATURAL JOIN (SELECT id, name FROM c) y
SELECT o.id, c.id FROM o CROSS JOIN c WHERE o.qty = c.id
SELECT a.id, b.id FROM o a JOIN o b ON a.customer = b.customer AND a.id < b.id
SELECT o.id, c.id FROM o JOIN c ON o.qty < c.id AND o.total > 50
SELECT o.id, c.id FROM o LEFT JOIN c ON o.qty > c.id + 3
SELECT a.name, b.name AS boss, d.name AS top FROM c a LEFT JOIN c b ON a.boss = b.id LEFT JOIN c d ON b.boss = d.id
SELECT id FROM o WHERE customer IN (SELECT id FROM c WHERE city = 'Oslo')
SELECT id FROM o WHERE customer NOT IN (SELECT id FROM c WHERE city = 'Oslo')
SELECT id FROM c WHERE EXISTS (SELECT 1 FROM o WHERE o.customer = c.id AND o.total > 100)
SELECT id FROM c WHERE NOT EXISTS (SELECT 1 FROM o WHERE o.customer = c.id AND o.total > 100)
SELECT c.id, (SELECT max(total) FROM o WHERE o.customer = c.id) AS best FROM c
SELECT id, total FROM o WHERE total > (SELECT avg(total) FROM o)
SELECT id FROM o WHERE total = ANY (SELECT max(total) FROM o GROUP BY status)
SELECT id FROM o WHERE total >= ALL (SELECT total FROM o WHERE total IS NOT NULL)
SELECT id FROM o WHERE (customer, qty) IN (SELECT id, id FROM c)
SELECT id, ARRAY(SELECT o.id FROM o WHERE o.customer = c.id ORDER BY o.id) FROM c
SELECT c.id, t.id, t.total FROM c CROSS JOIN LATERAL (SELECT o.id, o.total FROM o WHERE o.customer = c.id ORDER BY o.total DESC, o.id LIMIT 2) t
SELECT c.id, t.n FROM c LEFT JOIN LATERAL (SELECT count(*) AS n FROM o WHERE o.customer = c.id) t ON true
SELECT status, count(*), sum(total), avg(total), min(total), max(total) FROM o GROUP BY status
SELECT date_trunc('month', at) AS month, status, count(*) FROM o GROUP BY 1, 2 HAVING count(*) > 1
SELECT count(*), sum(total), avg(qty), min(note), max(at) FROM o
SELECT status, qty, count(*), grouping(status), grouping(qty), grouping(status, qty) FROM o GROUP BY ROLLUP (status, qty)
SELECT status, qty, sum(total), grouping(qty, status) FROM o GROUP BY CUBE (status, qty)
SELECT status, qty, sum(total) FROM o GROUP BY GROUPING SETS ((status), (qty), (status, qty), ())
SELECT status, qty, customer, count(*) FROM o GROUP BY status, ROLLUP (qty, customer)
SELECT status, qty, count(*) FROM o GROUP BY GROUPING SETS (ROLLUP (status, qty), CUBE (status))
SELECT status, qty, customer, count(*) FROM o GROUP BY ROLLUP ((status, qty), customer)
SELECT status, count(*) FROM o GROUP BY ROLLUP (status) HAVING grouping(status) = 0 OR count(*) > 3
SELECT status, CASE WHEN grouping(status) = 1 THEN 'all' ELSE coalesce(status, 'none') END, count(*) FROM o GROUP BY CUBE (status)
SELECT id, total FROM o ORDER BY total DESC NULLS LAST, id LIMIT 5
SELECT id, total FROM o ORDER BY total, id OFFSET 3 LIMIT 4
SELECT id, total FROM o ORDER BY total DESC, id OFFSET 2 ROWS FETCH NEXT 3 ROWS ONLY
SELECT id, qty FROM o ORDER BY qty DESC FETCH FIRST 4 ROWS WITH TIES
SELECT qty FROM (SELECT qty FROM o ORDER BY qty DESC FETCH FIRST 2 ROWS WITH TIES) q
SELECT id, rn FROM (SELECT id, row_number() OVER (PARTITION BY status ORDER BY total DESC, id) AS rn FROM o) q WHERE rn <= 2
SELECT id, r FROM (SELECT id, rank() OVER (PARTITION BY status ORDER BY qty) AS r FROM o) q WHERE r < 3
SELECT id, r FROM (SELECT id, dense_rank() OVER (ORDER BY qty) AS r FROM o) q WHERE r = 1
WITH t AS (SELECT customer, sum(total) AS s FROM o GROUP BY 1) SELECT t.customer, t.s, c.name FROM t JOIN c ON c.id = t.customer WHERE t.s > (SELECT avg(s) FROM t)
WITH t AS NOT MATERIALIZED (SELECT * FROM o WHERE qty > 1) SELECT count(*) FROM t
WITH t AS MATERIALIZED (SELECT * FROM o WHERE qty > 1), u(a) AS (SELECT id FROM t) SELECT max(a) FROM u
SELECT * FROM (VALUES (1, 'one'), (2, 'two'), (NULL, 'none')) v(n, word) JOIN o ON o.qty = v.n
VALUES (1, 'a'), (2, 'b')
SELECT id FROM o WHERE qty BETWEEN SYMMETRIC 4 AND 2
SELECT id FROM o WHERE qty NOT BETWEEN SYMMETRIC 4 AND 2
SELECT id FROM o WHERE note IS DISTINCT FROM status
SELECT id FROM o WHERE (qty, total) > (2, 10)
SELECT id FROM o WHERE (status, qty) = ('paid', 3)
SELECT id FROM o WHERE ROW(qty, id) IN (ROW(0, 6), ROW(1, 1))
SELECT id FROM o WHERE status = ANY (ARRAY['new', 'paid'])
SELECT id FROM o WHERE status <> ALL ('{new,paid}'::text[])
SELECT id FROM o WHERE note LIKE ANY (ARRAY['r%', '%er'])
SELECT id FROM o WHERE note NOT LIKE ALL (ARRAY['r%', '%er'])
SELECT id FROM o WHERE note ILIKE ANY (ARRAY['R%'])
SELECT id FROM o WHERE note LIKE 'x\_y\%'
SELECT id FROM o WHERE note LIKE 'x!_y!%' ESCAPE '!'
SELECT id FROM o WHERE note SIMILAR TO '(rush|call%)'
SELECT id FROM o WHERE paid IS NOT TRUE AND (score IS NULL OR score > 1)
SELECT id FROM o WHERE qty IN (1, 2, NULL)
SELECT o.* FROM o WHERE o.id = 7
SELECT (o).id, (o).status FROM o
SELECT id AS "Order No", status "Status" FROM o
TABLE c
SELECT status, count(*) FILTER (WHERE qty > 2), sum(total) FILTER (WHERE paid) FROM o GROUP BY status
SELECT op, count(*), max(total) FROM e GROUP BY op
SELECT e.id, e.op, o.status FROM e LEFT JOIN o ON o.id = e.id
SELECT e.status, c.name, count(*) FROM e JOIN c ON c.id = (e.doc->>'customer')::int GROUP BY 1, 2
SELECT full_document->>'status', count(*) FROM CHANGE_STREAM('s') GROUP BY 1
SELECT document_key->>'_id', operation_type, o.document->>'status' FROM CHANGE_STREAM('s') x JOIN orders o ON o._id = x.document_key->'_id'
