-- WITH RECURSIVE ends at its fixed point, or fails at a million rows; a view of it is refused by name.
@refused WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n) FROM t
@refused WITH RECURSIVE t AS (SELECT id, boss, name, 1 AS depth FROM c WHERE boss IS NULL UNION ALL SELECT c.id, c.boss, c.name, t.depth + 1 FROM c JOIN t ON c.boss = t.id) SELECT * FROM t
@refused WITH RECURSIVE t(id, path) AS (SELECT id, ARRAY[id] FROM c WHERE boss IS NULL UNION ALL SELECT c.id, t.path || c.id FROM c JOIN t ON c.boss = t.id) SELECT id, path FROM t ORDER BY id
@refused WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT (n * 2) % 7 FROM t) SELECT n FROM t ORDER BY n
@refused WITH RECURSIVE f(a, b) AS (SELECT 0::bigint, 1::bigint UNION ALL SELECT b, a + b FROM f WHERE b < 1000) SELECT a FROM f
@refused WITH RECURSIVE up AS (SELECT id, boss FROM c WHERE id = 6 UNION SELECT c.id, c.boss FROM c, up WHERE c.id = up.boss), n AS (SELECT count(*) AS k FROM up) SELECT up.id, n.k FROM up, n
WITH RECURSIVE t AS (SELECT id FROM o WHERE qty > 2) SELECT count(*) FROM t
