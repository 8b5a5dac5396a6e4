// What a JDBC client asks of a server: metadata, prepared statements past the driver's threshold, fetch size.

import java.sql.*;
import java.util.*;

public class Jdbc {
    static String list(ResultSet rows, String... columns) throws SQLException {
        List<String> found = new ArrayList<>();
        while (rows.next()) {
            StringBuilder line = new StringBuilder();
            for (String column : columns) line.append(line.length() == 0 || column.startsWith(".") ? "" : " ").append(column.startsWith(".") ? "." : "").append(rows.getString(column.replace(".", "")));
            found.add(line.toString());
        }
        Collections.sort(found);
        return String.join(", ", found);
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection("jdbc:postgresql:" + arguments[0], "tester", "")) {
            DatabaseMetaData metadata = connection.getMetaData();
            System.out.println("tables " + list(metadata.getTables(null, "public", "%", new String[] {"TABLE", "MATERIALIZED VIEW"}), "TABLE_NAME", "TABLE_TYPE"));
            System.out.println("columns " + list(metadata.getColumns(null, "public", "%", "%"), "TABLE_NAME", ".COLUMN_NAME", "TYPE_NAME"));
            System.out.println("primary key " + list(metadata.getPrimaryKeys(null, "public", "orders"), "COLUMN_NAME", "KEY_SEQ"));
            System.out.println("index " + list(metadata.getIndexInfo(null, "public", "orders", false, false), "INDEX_NAME", "COLUMN_NAME"));
            PreparedStatement prepared = connection.prepareStatement("SELECT status, n FROM v WHERE n >= ? AND status = ?");
            String answer = "";
            for (int i = 0; i < 8; i++) {
                prepared.setInt(1, 1);
                prepared.setString(2, "paid");
                answer = list(prepared.executeQuery(), "status", "n");
            }
            System.out.println("prepared " + answer);
            PreparedStatement values = connection.prepareStatement("SELECT 1::int4, 2::int8, 1.5::numeric, ARRAY[1, 2], '{}'::jsonb, '2024-01-02'::date, 2.5::float8");
            for (int i = 0; i < 8; i++) {
                ResultSet row = values.executeQuery();
                row.next();
                answer = row.getInt(1) + " " + row.getLong(2) + " " + row.getBigDecimal(3) + " " + Arrays.toString((Object[]) row.getArray(4).getArray()) + " " + row.getString(5) + " " + row.getDate(6) + " " + row.getDouble(7);
            }
            System.out.println("values " + answer);
            connection.setAutoCommit(false);
            Statement statement = connection.createStatement();
            statement.setFetchSize(2);
            ResultSet rows = statement.executeQuery("SELECT * FROM generate_series(1, 7)");
            int count = 0;
            while (rows.next()) count++;
            connection.commit();
            System.out.println("fetched " + count);
        }
    }
}
